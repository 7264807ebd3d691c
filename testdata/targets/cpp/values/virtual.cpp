// Objects that are seen through pointers and references to their bases.
#include "shapes.h"

#include <exception>

extern volatile long sink;

namespace shop {

// Only this unit has it, and no other has one of its name.
namespace {
struct Hidden : Figure {
	long depth = 12;
	int area() const override { return 1; }
};
} // namespace

template <typename T> struct Measured : Figure {
	T value;
	explicit Measured(T value) : value(value) {}
	int area() const override { return static_cast<int>(value); }
};

TRACED int figure(const Figure *pointer, Figure &reference, const Figure *none)
{
	return pointer->area() + reference.area() + (none != nullptr);
}

TRACED int exactly(const Circle &circle) { return circle.area(); }

TRACED std::size_t second_base(const Labelled *labelled, Labelled &itself) { return labelled->length() + itself.length(); }

TRACED int owned_figures(const std::vector<std::unique_ptr<Figure>> &figures, const std::shared_ptr<Figure> &shared)
{
	int area = shared->area();
	for (const auto &f : figures)
		area += f->area();
	return area;
}

TRACED int virtual_base(const Device *device, const Sink *part) { return device->id + part->writes; }

class Refused : public std::exception {
	int code;

public:
	explicit Refused(int code) : code(code) {}
	const char *what() const noexcept override { return "refused"; }
};

TRACED bool reported(const std::exception &refused, const std::exception *library) { return refused.what() == library->what(); }

/* Nothing is called: its return is seen by a uretprobe. */
TRACED const Labelled *same(const Labelled *labelled) { return labelled; }

TRACED Figure *made(int radius) { return new Circle(radius); }

void virtual_calls()
{
	Circle circle(2);
	Badge badge(42);
	Labelled labelled;
	Disk disk;
	Hidden hidden;

	sink = figure(&circle, badge, nullptr);
	sink = exactly(circle);
	sink = (long)second_base(&badge, labelled);
	sink = same(&badge) != nullptr;
	std::vector<std::unique_ptr<Figure>> figures;
	figures.emplace_back(new Circle(1));
	figures.emplace_back(new Plain);
	figures.emplace_back(new Measured<double>(-3));
	figures.emplace_back(new Hidden(hidden));
	figures.emplace_back(nullptr);
	figures.pop_back();
	sink = owned_figures(figures, std::make_shared<Badge>(43));
	sink = virtual_base(&disk, &disk);
	std::bad_exception bad;
	sink = reported(Refused(403), &bad);
	delete made(5);
	sink = badge.twice();
	Dialog dialog;
}

} // namespace shop
